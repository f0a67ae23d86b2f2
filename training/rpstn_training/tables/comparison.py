"""What the paper prints of parameters and FLOPs, beside the same counts of the networks here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..building import describe_network
from ..config import Config, ModelConfig, load_config
from ..counting import Counts, count_model
from ..data.records import Skeleton
from ..data.sets import load_skeleton
from ..errors import UserError
from . import TABLES
from .files import config_path
from .rows import Count, PaperTable, Row


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A printed number and what its rule gives here.

    counted (str | None): with as many digits as printed; None where the rule or the network is not known.
    reason (str): why they differ, or why nothing was counted.
    """

    table: str
    method: str
    column: str
    printed: str
    counted: str | None
    reason: str

    @property
    def agrees(self) -> bool:
        return self.counted == self.printed


class Counter:
    """`count_model` that counts a network once, however often it is asked for."""

    def __init__(self) -> None:
        self._known: dict[tuple, Counts] = {}

    def model(
        self,
        model: ModelConfig,
        skeleton: Skeleton,
        size: tuple[int, int],
        frames: int,
        maps_per_joint: int = 1,
    ) -> Counts:
        key = (describe_network(model), skeleton.joints, skeleton.limbs, size, frames, maps_per_joint)
        if key not in self._known:
            self._known[key] = count_model(model, skeleton, size, frames, maps_per_joint)
        return self._known[key]

    def config(self, config: Config) -> Counts:
        """Counts of a clip as the configuration has it; raises UserError where the joints follow from data that are
        not there, or the network does not take its size.
        """
        skeleton = load_skeleton(config.data)
        try:
            data, maps = config.data, config.heatmap.maps_per_joint
            return self.model(config.model, skeleton, data.input_size, data.clip_length, maps)
        except ValueError as error:
            raise UserError(f"data.input_size: {error}") from error


def compare(table: PaperTable, row: Row, counts: Counts | None) -> Iterator[Comparison]:
    """The comparisons of a row; `counts` is None where its network cannot be built."""
    for column, count in (("Params (M)", row.parameters), ("FLOPs (G)", row.flops)):
        if count is None:
            continue
        counted = None if counts is None else by_rule(count, counts, column)
        yield Comparison(
            table=table.number,
            method=row.method,
            column=column,
            printed=count.printed,
            counted=counted,
            reason=count.differs if row.config is not None else "another's network, which is not here",
        )


def by_rule(count: Count, counts: Counts, column: str) -> str | None:
    rule = count.counting
    if rule is None:
        return None
    value = rule.parameters(counts) if column.startswith("Params") else rule.flops(counts)
    return rule.printed(value, count.printed)


def compare_all(folder: Path, counter: Counter) -> list[Comparison]:
    """Every printed count of every table, by the configurations in `folder`."""
    found = []
    for table in TABLES.values():
        for row in table.rows:
            if row.parameters or row.flops:
                counts = (
                    counter.config(load_config(config_path(folder, row))) if row.config is not None else None
                )
                found += compare(table, row, counts)
    return list(dict.fromkeys(found))  # a row of Table V stands in both of its blocks
