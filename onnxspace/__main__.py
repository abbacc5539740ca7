"""`python -m onnxspace`."""

from onnxspace.cli import main

if __name__ == "__main__":
    main()
