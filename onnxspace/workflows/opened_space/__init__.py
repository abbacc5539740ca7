"""What `Space` does, by subject: contents, sets of probe images, comparisons, searches. Each function takes an `OpenedSpace`."""
