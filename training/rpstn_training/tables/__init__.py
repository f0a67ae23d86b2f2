"""The paper's tables: what it prints, which configuration makes each row, and what runs here have scored.

How to add a configuration to a row: write configs/tables/<config>.yaml, complete and with the row's numbers at its
head, and take the row's `awaits` away.
"""

from .ablations import ABLATIONS
from .comparisons import COMPARISONS
from .rows import Block, Column, Count, PaperTable, Row

__all__ = ["TABLES", "Block", "Column", "Count", "PaperTable", "Row"]

TABLES: dict[str, PaperTable] = ABLATIONS | COMPARISONS
