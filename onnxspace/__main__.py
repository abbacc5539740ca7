"""`python -m onnxspace`."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:  # the current folder, last: no file there can stand for an installed package
        sys.path.append(sys.path.pop(0))
    from onnxspace.cli import main

    main()
