"""Does a relation of joints help behind a real network, and does memory? `rpstn study` (docs/study.md)."""
