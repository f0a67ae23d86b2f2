"""The paper's tables: what it prints, which configuration makes each row, and what runs here have scored.

How to add a row: its numbers, and the name of its configuration, go into `ablations` or `comparisons`; the
configuration is configs/tables/<name>.yaml, complete and with the row's numbers at its head.
"""

from .ablations import ABLATIONS
from .comparisons import COMPARISONS
from .rows import Block, Column, Count, PaperTable, Row

__all__ = ["TABLES", "Block", "Column", "Count", "PaperTable", "Row"]

TABLES: dict[str, PaperTable] = ABLATIONS | COMPARISONS
