"""What one call of each bar has to do, and how many instructions of a warp its kernels begin for it at least."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.report import table

if TYPE_CHECKING:
    from benchmarks.sass import Kernel

# Of an H100 and an H200: multiprocessors, instructions of a warp that one begins in a cycle, cycles of a microsecond,
# what the nearest memory to all of them keeps, and bytes copied in a microsecond.
MULTIPROCESSORS, ISSUES, CYCLES, KEPT, COPIED = 132, 4, 1980, 50e6, {"H100": 3.0e6, "H200": 4.3e6}

# Instructions by which a loop is found: those that begin like this, and which of them.
Marks = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Loop:
    """Marks that each round passes, rounds of a warp (a mean, where warps differ), and loops inside of it."""

    marks: Marks
    rounds: float
    inner: tuple[Loop, ...] = ()

    def places(self, kernel: Kernel) -> list[int]:
        own = [kernel.places(opcode)[which] for opcode, which in self.marks]
        return sorted(own + [place for loop in self.inner for place in loop.places(kernel)])

    def again(self, kernel: Kernel, times: float = 1) -> float:
        """Instructions of all rounds but the first, where the loop is come to so often."""
        own = times * (self.rounds - 1) * kernel.round(self.places(kernel))
        return own + sum(loop.again(kernel, times * self.rounds) for loop in self.inner)


@dataclass(frozen=True)
class Launch:
    """A kernel of a call. After the `last` marks only a few instructions are left. Without loops it is not counted."""

    kernel: str
    warps: int = 0
    loops: tuple[Loop, ...] = ()
    last: Marks = ()

    def of(self, samples: int) -> Launch:
        return replace(self, warps=self.warps * samples)

    def instructions(self, kernel: Kernel) -> float:
        """Of a warp, by the shortest way that passes all marks: at least so many."""
        once = [place for loop in self.loops for place in loop.places(kernel)]
        last = [kernel.places(opcode)[which] for opcode, which in self.last]
        return kernel.way([0, *once, *last]) + sum(loop.again(kernel) for loop in self.loops)


@dataclass(frozen=True)
class Work:
    """A call of a bar: what any must do for it, and what ours does."""

    case: str
    bar: str
    planes: int
    least: float  # bytes that are read and written once
    multiplied: float  # multiply-adds
    launches: tuple[Launch, ...]
    moved: float = 0.0  # bytes that these launches read and write, if more

    def known(self, kernels: Mapping[str, Kernel]) -> bool:
        return all(launch.kernel in kernels for launch in self.launches)

    def row(self, kernels: Mapping[str, Kernel]) -> tuple[object, ...]:
        counted = [launch for launch in self.launches if launch.loops]
        instructions = sum(launch.instructions(kernels[launch.kernel]) * launch.warps for launch in counted)
        begun = instructions / (MULTIPROCESSORS * ISSUES * CYCLES)
        multiplied = self.multiplied / (MULTIPROCESSORS * 128 * CYCLES)
        floors = [max(self.least / speed, multiplied) for speed in COPIED.values()]
        taken = [max(begun, self.moved / speed) for speed in COPIED.values()]
        shares = " / ".join(f"{min(1.0, floor / least):.0%}" for floor, least in zip(floors, taken))
        return (
            self.case,
            len(self.launches),
            f"{instructions / self.planes:.0f}",
            f"{begun:.1f}",
            " / ".join(f"{floor:.1f}" for floor in floors),
            shares,
            self.bar,
        )


def stored(*which: int, opcode: str = "STG.E.128") -> Marks:
    return tuple((opcode, i) for i in which)


def plane_works() -> Iterator[Work]:
    """7x7 on 8x256x64x64: a plane has 256 units of 4 x 4 results, and with what is around it 70 rows of 18 vectors."""
    planes, pixels, taps, joints = 2048, 64 * 64, 49, 13
    sizes = "7x7 8x256x64x64"

    def moved(element: int, elements_of_pixel: float) -> float:
        return element * planes * (elements_of_pixel * pixels + taps)

    def conv(dtype: str, element: int, copies: Loop, stores: Marks) -> Work:
        # A warp has half of a plane, of which two are a block: 4 units of a thread.
        launch = Launch("dynamic_conv2d_kernel<7>", 2 * planes, (copies, Loop(stores, 4)))
        name = f"dynamic_conv2d {sizes} {dtype} forward"
        return Work(name, "75 %", planes, moved(element, 2), planes * pixels * taps, (launch,))

    yield conv("float32", 4, Loop((("LDGSTS", 0),), 20), stored(0, 1, 2, 3))
    # Four vectors at a time, of the second half type; stores of the same.
    halves = tuple(("LDG.E.64", 4 + i) for i in range(4))
    yield conv("bfloat16", 2, Loop(halves, 5), stored(4, 5, 6, 7, opcode="STG.E.64"))
    loops = (
        Loop((), 2, (Loop((("LDGSTS", 0),), 10),)),
        Loop(stored(0, 1, 2, 3), 2),
        Loop((("FFMA", 16 * taps), ("FFMA", 2 * 16 * taps - 1)), 2),
        Loop((("SHFL", 0), ("SHFL", 50)), 1),
    )
    yield Work(
        f"dynamic_conv2d {sizes} float32 backward",
        "70 %",
        planes,
        moved(4, 3) + 4 * planes * taps,
        2 * planes * pixels * taps,
        (Launch("dynamic_conv2d_backward_kernel<7>", 4 * planes, loops),),
    )
    mixing = joints * pixels * 256
    steps = Loop(
        (),
        4,
        (
            Loop((("LDGSTS", 0),), 8),
            Loop((("FFMA", 0), ("FFMA", 16 * taps - 1)), 1),
            Loop((("FFMA", 16 * taps), ("FFMA", 16 * taps + 31)), 8),
        ),
    )
    yield Work(
        f"dynamic_match {sizes} float32 forward",
        "1.6x our own pair",
        planes,
        moved(4, 1) + 4 * 8 * joints * pixels,
        planes * pixels * taps + 8 * mixing,
        (Launch("dynamic_match_kernel<7, 8>", 512 * 8, (steps,), (("STS.128", -1), ("STG.E.128", 0))),),
    )


ENTRIES = 6 / 4  # rounds of a warp over 169 or 182 numbers, which 128 threads share
OF_WARP = 13 / 4  # rows of a warp, where four share 13


def one_read(element: int, backward: bool) -> Launch:
    """The relation of a sample: clusters, chunks of columns and what a warp has of them, as its launcher divides it."""
    kernel = f"one_read_{'backward' if backward else 'forward'}_kernel"
    sums = tuple(
        ("LD.E", i) for i in range(8)
    )  # of 8 parts at once; there are 16 of 256 columns, or 8 of 512
    if element == 4:
        kernel += "<float, 13>"
        adding = Loop((), ENTRIES, (Loop(sums, 2),))
        if backward:  # clusters of 4: 4 chunks of two tasks, by 64 columns; then 1024 columns by 512
            products = Loop((("SHFL.BFLY", 0),), 2, (Loop((("FFMA", 0),), 4),))
            return Launch(kernel, 4 * 4, (products, adding, Loop((("LDS", -10),), 2, (Loop(stored(0), 13),))))
        # Clusters of 2: 8 chunks, by 128 columns; then 2048 columns by 512, and two joints at a time.
        products = Loop((("SHFL.BFLY", 0),), 2, (Loop((("FFMA", 0),), 2),))
        return Launch(kernel, 2 * 4, (products, adding, Loop(stored(2), 4, (Loop(stored(0, 1), 6),))))
    kernel += "<bfloat16, 16>"
    products, mixed = Loop((("HMMA", 0),), 8), stored(0, 1, 2, 3)  # by 64 columns both
    if backward:  # clusters of 2: 4 chunks
        return Launch(kernel, 2 * 4, (products, Loop(sums, ENTRIES), Loop(mixed, 8)))
    return Launch(kernel, 4, (Loop((("STS", 25),), 2, (products,)), Loop(sums, ENTRIES), Loop(mixed, 16)))


def norm_launches(element: int, backward: bool) -> tuple[Launch, ...]:
    """Products of 4 chunks of a sample, what lies between, and the mixture of 8 or, of half types, 4 blocks."""

    def loads(first: int, count: int) -> Marks:
        return tuple(("LDG.E.128", first + i) for i in range(count))

    mixing = f"tile_mix_kernel<{'float, 13' if element == 4 else 'bfloat16, 16'}, {int(backward)}>"
    mixed = Loop(stored(0, 1, 2, 3), 4) if element == 2 else Loop(stored(0), 13)
    if element == 4 and not backward:
        mixed = Loop(stored(2), 1, (Loop(stored(0, 1), 6),))
    last = Launch(mixing, 4 * (8 if element == 4 else 4), (mixed,))
    if backward:  # 512 columns at a time, of both maps; four vectors of a row at once, of half types two
        loaded = Loop((), 2, (Loop(loads(14, 4) if element == 4 else loads(11, 2), OF_WARP),))
        products = Loop((("SHFL.BFLY", 15),), 1, (Loop((("FFMA", 10),), 4),))
        work = Loop((), 2, (loaded, products))
        names = ("norm_gradient_sums_kernel<float>", "norm_fold_backward_kernel<float>")
        return Launch("tile_products_kernel<13, 0>", 4 * 4, (work,)), *map(Launch, names), last
    rows = Loop(loads(14, 4), 2 * OF_WARP) if element == 4 else Loop(loads(7, 4), OF_WARP)
    products = Loop((("SHFL.BFLY", 15),), 1, (Loop((("FFMA", 10),), 2),))
    of_rows = Loop((("SHFL.BFLY", 105),), OF_WARP, (Loop((("LDS", 42),), 2),))
    first = Launch("tile_products_kernel<13, 1>", 4 * 4, (rows, products, of_rows))
    return first, Launch("norm_fold_kernel<float>"), last


def relation_works() -> Iterator[Work]:
    """The relation of 13 joints of 64x64, and with the norm, whose second read finds a part in the nearest memory."""
    joints, columns = 13, 64 * 64
    for dtype, element in (("float32", 4), ("bfloat16", 2)):
        for samples in (256, 1024):
            maps = float(element * joints * columns * samples)
            products = joints * (joints + 1) // 2 + joints * joints
            for backward, bar in ((False, "85 %"), (True, "80 %")):
                direction, passes = ("backward", 3) if backward else ("forward", 2)
                case = f"{samples}x13x64x64 {dtype} {direction}"
                relation = one_read(element, backward)
                adding = (Launch("add_samples_kernel<float>"),) if backward else ()
                multiplied = 0 if element == 2 else samples * columns * (passes - 1) * products
                of_all = {"planes": samples * joints, "least": passes * maps, "multiplied": multiplied}
                alone = (relation.of(samples), *adding)
                yield Work(f"joint_relation {case}", bar, **of_all, launches=alone)
                moved = passes * maps + max(0.0, (passes - 1) * maps - KEPT)
                most = "69 % (1.45x)" if samples == 1024 and element == 4 else "80 % (1.25x)"
                launches = tuple(launch.of(samples) for launch in norm_launches(element, backward))
                yield Work(f"joint_relation_norm {case}", most, **of_all, launches=launches, moved=moved)


def works() -> Iterator[Work]:
    yield from relation_works()
    yield from plane_works()


def per_work(kernels: Mapping[str, Kernel]) -> list[str]:
    header = (
        "case",
        "launches",
        "instructions of a plane",
        "begun in us",
        "floor in us",
        "share, at most",
        "bar",
    )
    return table(header, [work.row(kernels) for work in works() if work.known(kernels)])
