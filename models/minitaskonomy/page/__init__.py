"""The page: docs/minitaskonomy.md with its pictures, and README's table, from the study's tables alone."""
