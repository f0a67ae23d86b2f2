"""Frames that are decoded in a thread of their own while the network is at work."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_LOOK = 0.1  # seconds between looks at whether anybody still listens


def ahead(items: Iterator[Item], depth: int = 3) -> Generator[Item, None, None]:
    """The same items in the same order, up to `depth` of them (and the one in the making) ahead of the consumer.

    What `items` raises is raised here, in its place. When the generator is closed or forgotten, the thread ends after
    the item it is at, and `items` is closed.
    """
    ready: queue.Queue[tuple[str, object]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(kind: str, value: object) -> bool:
        while not stopped.is_set():
            try:
                ready.put((kind, value), timeout=_LOOK)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    break
        except BaseException as error:
            put("error", error)
        else:
            put("end", None)
        finally:
            if hasattr(items, "close"):
                items.close()

    thread = threading.Thread(target=work, name="decoding", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value  # type: ignore[misc]
            if kind == "end":
                return
            yield value  # type: ignore[misc]
    finally:
        stopped.set()
        while thread.is_alive():  # the thread may be waiting for a place
            try:
                ready.get_nowait()
            except queue.Empty:
                thread.join(_LOOK)
