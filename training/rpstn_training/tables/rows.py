"""What a table of the paper is made of: blocks of rows under the same columns, as printed, and the row's
configuration; and what several tables have in common.
"""

from dataclasses import dataclass
from typing import Any, Literal

from ..counting import Counting


@dataclass(frozen=True, kw_only=True)
class Column:
    """A score's name in the paper, and where the same score stands in the eval.json that `rpstn eval` writes: the table
    of PCK or that of the data set's owners, its row and its column.
    """

    name: str
    table: Literal["pck", "official"]
    row: str
    column: str


@dataclass(frozen=True, kw_only=True)
class Count:
    """A number of parameters or FLOPs as printed, with how it was counted.

    counting (Counting | None): the rule, None where it is not known. differs (str): why the rule gives another number
    for the configuration of the row, where it does.
    """

    printed: str
    counting: Counting | None = None
    differs: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table.

    method (str): as printed. scores (tuple[str, ...]): as printed, by the columns of its block. config (str | None):
    the name of the configuration that makes it, a file of configs/tables; None for what others have published and
    nobody can train here. frames (int | None): of a clip, where the table has them.
    """

    method: str
    scores: tuple[str, ...]
    config: str | None = None
    frames: int | None = None
    parameters: Count | None = None
    flops: Count | None = None
    milliseconds: str | None = None


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows under the same columns. metric (str): what the scores are."""

    metric: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """number (str): Roman, as printed. remark (str): what one has to know to compare."""

    number: str
    title: str
    blocks: tuple[Block, ...]
    remark: str = ""

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(row for block in self.blocks for row in block.rows)


GROUPS = ("Head", "Sho.", "Elb.", "Wri.", "Hip", "Knee", "Ank.")


def pck_columns(normaliser: str) -> tuple[Column, ...]:
    """Columns by which Penn Action and Sub-JHMDB are scored; mPCK is the mean over joints."""
    groups = [
        Column(name=name, table="pck", row=normaliser, column=name.removesuffix(".")) for name in GROUPS
    ]
    return (*groups, Column(name="mPCK", table="pck", row=normaliser, column="Mean"))


TORSO = "PCK@0.2 normalised by torso size"
PERSON = "PCK@0.2 normalised by person size"

# Tables IV and V count the released code's network with a ResNet-101 as its pose initialiser.
PARAMETERS = Counting(rule="calls", released=True)
FLOPS = Counting(rule="calls", released=True, relation=False)
FLOPS_WITH_RELATION = Counting(rule="calls", released=True)


def row(method: str, scores: str, config: str | None = None, **more: Any) -> Row:
    return Row(method=method, scores=tuple(scores.split()), config=config, **more)
