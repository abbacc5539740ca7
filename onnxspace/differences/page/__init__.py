"""What changed between two models as one HTML file that works offline: both graphs side by side, the table, and maps.

Rows are laid out one below the other, in the order of the graph, and the two sides of a row correspond. Layouts in layers were measured
and not taken: dagre 3.1 needs 7 s for 1,000 nodes and fails from 2,000 on, elkjs 0.12 (1.6 MB) needs 2 s for 100 and 9 s for 1,000. Rows need no
library, and matched nodes are beside each other by construction.
"""
