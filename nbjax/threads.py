"""A threaded map that stays a few items ahead of its consumer."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Generator[Result, None, None]:
    """`map` in threads, in order; unlike an executor's own map it never holds more than a few results.

    Worth it where `function` spends its time in NumPy, Pillow or files, which let other threads run.

    Args:
        function: of one item.
        items: read by the consumer's thread.
        workers: threads; None is one a core.

    Yields:
        Results in the items' order. Closing the generator cancels what has not begun and waits for what has.
    """
    workers = workers or os.cpu_count() or 1
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
