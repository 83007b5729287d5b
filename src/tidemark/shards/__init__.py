"""A config in parts that run by themselves, and their summaries in one again."""
