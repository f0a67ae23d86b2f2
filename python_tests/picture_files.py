"""Pictures as cameras write them, for tests."""


def with_orientation(data, number, order="little"):
    """A JPEG with an EXIF block put behind its first mark."""
    block = b"II*\0" if order == "little" else b"MM\0*"
    block += (8).to_bytes(4, order) + (1).to_bytes(2, order)
    block += (0x0112).to_bytes(2, order) + (3).to_bytes(2, order) + (1).to_bytes(4, order)
    block += number.to_bytes(2, order) + bytes(2) + bytes(4)
    segment = b"Exif\0\0" + block
    return data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + data[2:]
