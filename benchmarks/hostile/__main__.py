"""`python -m benchmarks.hostile`"""

import typer

from benchmarks.hostile import main

typer.run(main)
