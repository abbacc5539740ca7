"""Whether maps are faithful to the network that they are of: pixels are removed, images disturbed, weights randomised."""
