"""The page: docs/minitaskonomy.md with its pictures, from the study's tables alone."""
