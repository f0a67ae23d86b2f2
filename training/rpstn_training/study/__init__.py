"""Does a relation of joints help behind a real network, and does memory? `rpstn study` (docs/study.md)."""

# Sets whose clips a study can be tried on, beside its own.
REAL_SETS = {"penn_action": "Penn Action", "sub_jhmdb": "Sub-JHMDB"}
