"""`python -m airbundle`."""

from airbundle.cli.entry import main

if __name__ == "__main__":
    raise SystemExit(main())
