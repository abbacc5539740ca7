"""The oracle: readouts on frozen encoders, the loss of every transfer, and how far these losses can be trusted."""
