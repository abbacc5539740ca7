"""The study: every score of the models, its evaluation against the oracle, and the choice of a default."""
