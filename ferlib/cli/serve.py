"""ferlib pack, serve, stop."""

from argparse import Namespace
from typing import Any

from ferlib.cli.arguments import add_command, port


def pack(args: Namespace) -> dict:
    from ferlib.serving import archive

    path = archive.pack(args.weights, args.out)
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return {"archive": str(path)}


def serve(args: Namespace) -> dict:
    from ferlib.serving import server

    print("starting Multi Model Server: a few seconds", flush=True)
    started = server.start(args.archive, args.port)
    print(f"serving {started.address}\nlogs: {started.logs}", flush=True)
    if args.foreground:
        server.wait(started)
    return {"address": started.address, "port": started.port, "logs": started.logs}


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
    about = "serve the archive with Multi Model Server"
    command = add_command(commands, "serve", serve, about)
    add = command.add_argument
    add("--port", type=port, default=8080, help="on 127.0.0.1")
    about = "default: model_store/fer.mar, else the shipped net"
    add("--archive", metavar="FILE", help=about)
    add("--foreground", action="store_true", help="stay until Ctrl-C")
    about = "stop the servers that `ferlib serve` started"
    command = add_command(commands, "stop", stop, about)
    command.add_argument("--port", type=int, help="only the one on this port")
