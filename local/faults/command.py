"""`python -m local fault`: its arguments, and how faults are shown on a terminal."""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from local.faults.faults import ACTION_KINDS, CALL_KINDS, Fault

_EXAMPLES = """
on calls of AWS (--on, a pattern; --where, --skip, --times, --probability and --seed say which):
  throttle           fault throttle --on kinesis:PutRecords --times 3
  error              fault error --on 's3:Put*' --code AccessDenied --status 403
  delay              fault delay --on glue:GetTable --seconds 2
  lose-response      fault lose-response --on s3:PutObject --probability 0.2 --seed 7 --times 0
  duplicate          fault duplicate --on lambda:Invoke
  kill               fault kill --on glue:UpdateTable --when after --process curate
at once:
  broker-restart     fault broker-restart --seconds 2
  broker-disconnect  fault broker-disconnect
  reshard            fault reshard --seed 3        or: fault reshard --shards 2
  clock-jump         fault clock-jump --seconds 3600
and:
  list               fault list                    every fault, and how often it has struck
  clear              fault clear                   or one by its name: fault clear throttle

`kill` ends the function's process or the job run that made the call, nobody else's. `clock-jump`
moves the clock of the services, not that of functions, jobs and devices; `clear` sets it back.
`reshard --shards` goes to double or half of the open shards at most, as Kinesis does.
"""


def parser() -> argparse.ArgumentParser:
    """The arguments; only those that are given become settings, and the local cloud checks them."""
    arguments = argparse.ArgumentParser(
        prog="python -m local fault",
        description="Inject a fault into the local cloud that is up, list them, or clear them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    add = arguments.add_argument
    kinds = ", ".join((*CALL_KINDS, *ACTION_KINDS))
    add("kind", metavar="KIND", help=f"{kinds}, or list or clear")
    add("cleared", nargs="?", metavar="NAME", help="after clear: the fault to clear (all)")
    add("--name", help="its name in the list; its kind if not given")
    add("--on", metavar="CALLS", help="which calls: s3:PutObject, 'kinesis:Put*'")
    add("--where", metavar="TEXT", help="only calls whose path or request contains this")
    add("--process", metavar="TEXT", help="kill only a function or job whose name contains this")
    add("--when", metavar="WHEN", help="kill before or after the call is applied (after)")
    add("--skip", type=int, metavar="N", help="let so many matching calls pass first (0)")
    add("--times", type=int, metavar="N", help="strike so many calls (1); 0: until cleared")
    add("--probability", type=float, metavar="P", help="strike a matching call so likely (1)")
    add("--seed", type=int, metavar="N", help="decides which calls, or which shards (0)")
    add("--seconds", type=float, metavar="S", help="how long, or how far")
    add("--code", metavar="CODE", help="the error's code, if not the service's own")
    add("--status", type=int, metavar="N", help="the error's HTTP status, if not the service's own")
    add("--shards", type=int, metavar="N", help="scale to so many, instead of the seed's choice")
    return arguments


def lines(faults: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each fault: its name, how often it has fired, and the command that made it."""
    shown = []
    for fault in faults:
        usual = asdict(Fault(fault["name"], fault["kind"]))
        given = {name: fault[name] for name in usual.keys() & fault if fault[name] != usual[name]}
        told = " ".join(f"--{name} {given[name]}" for name in usual if name in given)
        struck = "done" if fault["kind"] in ACTION_KINDS else f"struck {fault['fired']}"
        shown.append(f"{fault['name']}: {struck}, {fault['kind']} {told}".rstrip())
    return shown
