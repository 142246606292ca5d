"""``python -m vrnlib``."""

from vrnlib.cli import main

if __name__ == "__main__":
    main()
