"""What `trimtab` can do: a function of a file here, which a line below names."""

#: Module and function (or Typer group) of every command, in the order of `trimtab --help`.
COMMANDS = (
    "init:init",
    "check_setup:check_setup",
    "plan:plan",
    "check:check",
    "layers:layers",
    "jobs:jobs",
    "front:front",
    "show:show",
    "compare:compare",
    "report:report",
    "dashboard:dashboard",
    "export:export",
    "export:verify",
    "gc:gc",
    "devices:app",
)
