"""Records to files, the same bytes every time; imported by the builder alone, since it needs tensorflow_datasets."""

from collections.abc import Iterable, Iterator
from typing import Any

from tensorflow_datasets.core.writer import ExampleWriter
from tensorflow_datasets.proto import tf_example_pb2


class ReproducibleWriter(ExampleWriter):
    """TFDS's writer, with the features of each record in alphabetical order.

    A protocol buffer's map is otherwise serialised in an order that changes from run to run.
    """

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
        """Writes one file of (key, serialised example) pairs."""
        return super().write(path, _canonical(examples))


def _canonical(examples: Iterable[tuple[Any, bytes]]) -> Iterator[tuple[Any, bytes]]:
    for key, serialised in examples:
        example = tf_example_pb2.Example.FromString(serialised)
        yield key, example.SerializeToString(deterministic=True)
