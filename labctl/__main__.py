"""`python -m labctl` is the command `labctl`."""

from labctl.cli import main

if __name__ == "__main__":
    main()
