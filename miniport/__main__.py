"""
`python -m miniport` is the same as `vnic`.
"""

from miniport.cli import main

raise SystemExit(main())
