"""``python -m xai`` is the command `xai`."""

from xai.cli import main

raise SystemExit(main())
