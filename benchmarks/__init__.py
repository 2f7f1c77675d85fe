"""What is measured: `python -m benchmarks.NAME [--data DIR]`, or what these are made of."""

#: Modules that are no benchmarks, beside those whose names begin with an underscore.
HELPERS = (
    "cifar",
    "dashboard_browser",
    "dashboard_stores",
    "googlenet",
    "search_space",
    "setup_cases",
    "setup_pack",
    "slim_sets",
    "stateful_replay",
    "zoo",
)
