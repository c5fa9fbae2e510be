"""`python -m airbundle`."""

from airbundle.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
