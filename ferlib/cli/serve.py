"""ferlib pack, serve, status, stop."""

import time
from argparse import Namespace
from datetime import datetime
from typing import Any

from ferlib.cli.arguments import add_command, add_prior, amount, number, place, port


def pack(args: Namespace) -> dict:
    from ferlib.serving import archive

    path = archive.pack(args.weights, args.out, args.prior)
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return {"archive": str(path)}


def serve(args: Namespace) -> dict:
    from ferlib.serving import archive, server

    if args.archive and args.prior:
        args.refuse("--prior does not go with --archive: give it to `ferlib pack`")
    told = args.weights, args.workers, args.threads, args.metrics, args.rate
    how = server.How(*told, prior=args.prior, bound=args.foreground)
    packed = server.archive_for(args.archive, how)
    if packed is not None and archive.is_of_another_version(packed):
        print(
            f"{packed} was packed by another version of ferlib, and answers by that one: "
            f"to pack it anew, `ferlib pack --out {packed}`"
        )
    print("starting Multi Model Server: a few seconds", flush=True)
    started = server.start(args.archive, args.port, how=how)
    ready = f"serving {started.address}\nlogs: {started.logs}"
    if args.foreground:
        server.wait(started, ready)
    else:
        print(ready)
    return {"address": started.address, "port": started.port, "logs": started.logs}


def status(args: Namespace) -> dict:
    from ferlib.serving import status

    told = [one for one in status.servers() if args.port in (None, one["port"])]
    print("\n\n".join(map(_table, told)) if told else "no server is running")
    return {"servers": told}


def _table(told: dict) -> str:
    """One server as two columns."""
    rows = {"address": told["address"], "logs": told["logs"]}
    if "since" in told:
        since = datetime.fromtimestamp(told["since"]).astimezone()
        rows["since"] = f"{since:%Y-%m-%d %H:%M:%S}, {_span(time.time() - told['since'])}"
    rows["workers"] = f"{told['running']} of {told['workers']}, {told['threads']} threads each"
    if "requests" in told:
        rows["requests"] = f"{told['requests']}, and {told['in_flight']} in work or waiting"
        rows["errors"] = _counted(told["errors"])
        rows["refused"] = _counted(told["refused"])
        rows["restarts"] = str(told["restarts"])
    else:
        rows["gate"] = "does not answer"
    rows["memory"] = f"{told['memory'] / 1e6:.0f} MB in {told['processes']} processes"
    return "\n".join(f"{name:10}{text}" for name, text in rows.items())


def _counted(codes: dict[str, int]) -> str:
    each = ", ".join(f"{count} {code}" for code, count in sorted(codes.items()))
    return f"{sum(codes.values())}" + f" ({each})" * bool(codes)


def _span(seconds: float) -> str:
    minutes, hours = int(seconds) // 60 % 60, int(seconds) // 3600
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {int(seconds) % 60} s"


def stop(args: Namespace) -> dict:
    from ferlib.serving import server

    stopped = [one.port for one in server.stop(args.port)]
    ports = ", ".join(map(str, stopped))
    print(f"stopped the server on port {ports}" if stopped else "no server is running")
    return {"stopped": stopped}


def add_commands(commands: Any) -> None:
    about = "pack a net into an archive for Multi Model Server"
    command = add_command(commands, "pack", pack, about)
    add = command.add_argument
    add("--weights", default=None, metavar="PREFIX", help="default: the shipped net")
    add("--out", default="model_store/fer.mar", metavar="FILE")
    add_prior(command)
    _add_serve(commands)
    about = "tell which servers run, and what they have done"
    command = add_command(commands, "status", status, about)
    command.add_argument("--port", type=int, help="only the one on this port")
    about = "stop the servers that `ferlib serve` started"
    command = add_command(commands, "stop", stop, about)
    command.add_argument("--port", type=int, help="only the one on this port")


def _add_serve(commands: Any) -> None:
    about = "serve a net with Multi Model Server, behind a gate, on this machine alone"
    command = add_command(commands, "serve", serve, about)
    add = command.add_argument
    add("--port", type=port, default=8080, help="on 127.0.0.1")
    which = command.add_mutually_exclusive_group()
    about = "default: model_store/fer.mar, else the shipped net"
    which.add_argument("--archive", type=place, metavar="FILE", help=about)
    which.add_argument("--weights", metavar="PREFIX", help="a net, packed on the spot")
    add_prior(command)
    add("--workers", type=number, metavar="N", help="processes that read; default: one a core")
    about = "of each worker; default: $OMP_NUM_THREADS, else the cores shared out"
    add("--threads", type=number, metavar="N", help=about)
    add("--metrics", type=port, metavar="PORT", help="numbers for Prometheus, on 127.0.0.1")
    about = "requests a second from one address, the others are refused; 0: any number"
    add("--rate", type=amount, default=0.0, metavar="R", help=about)
    stay = command.add_mutually_exclusive_group()
    stay.add_argument("--foreground", action="store_true", help="stay until Ctrl-C")
    about = "come back once it answers (the default)"
    stay.add_argument("--detach", action="store_true", help=about)
