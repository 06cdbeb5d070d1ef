"""A SLURM cluster of two nodes on this host, from Debian packages. `python tests/slurm/cluster.py` keeps one open."""

import contextlib
import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
}
TEMPLATE = Path(__file__).with_name("slurm.conf")
SYSTEM = "/usr/sbin:/sbin"  # not on every user's PATH
# The executor plugin's inner call of srun loses SLURM_CONF; on a cluster /etc/slurm/slurm.conf stands in for it.
SRUN = """#!/bin/sh
SLURM_CONF={root}/slurm.conf exec {srun} "$@"
"""


def missing_packages():
    """Names of the Debian packages that a cluster needs and this host lacks."""
    path = os.pathsep.join([os.environ["PATH"], SYSTEM])
    return sorted({package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None})


@dataclass
class Cluster:
    """A running cluster.

    Attributes:
        root: its folder.
        environment: variables with which sbatch and snakemake find it.
    """

    root: Path
    environment: dict

    def ask(self, *command):
        """Lines that a SLURM command prints."""
        return subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        ).stdout.splitlines()

    def jobs(self):
        """All jobs of the cluster, oldest first, as dicts with the keys of scontrol: JobId, …"""
        rows = [dict(re.findall(r"(\S+?)=(\S+)", line)) for line in self.ask("scontrol", "show", "jobs", "--oneliner")]
        return sorted((row for row in rows if row), key=lambda row: int(row["JobId"]))


@contextlib.contextmanager
def running_cluster():
    """Start munge, a controller and two nodes in a new folder; yield a Cluster; stop them and remove the folder.

    Raises:
        RuntimeError: a daemon ended or did not answer in time. The message has its log.
    """
    with contextlib.ExitStack() as stack:
        root = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="tessera-slurm-", ignore_cleanup_errors=True))
        )
        environment = _configure(root)
        cluster = Cluster(root, environment)
        _start(stack, cluster, "munged", *_munge_options(root))
        _wait(cluster, "munged", lambda: (root / "munge" / "socket").exists())
        _start(stack, cluster, "slurmctld", "-D", "-i")
        _wait(cluster, "slurmctld", lambda: "UP" in cluster.ask("scontrol", "ping")[0])
        for node in ["n1", "n2"]:
            _start(stack, cluster, "slurmd", "-D", "-N", node, name=node)
        _wait(cluster, "n1", lambda: len(cluster.ask("sinfo", "-h", "-N", "-p", "cpu", "-t", "idle")) == 2)
        stack.callback(_cancel_all, cluster)
        yield cluster


def _configure(root):
    """Write the files of the cluster to `root`, and return the environment for its programs."""
    for folder in ["munge", "state", "spool", "bin", "logs"]:
        (root / folder).mkdir()
    root.chmod(0o755)
    (root / "munge").chmod(0o711)
    key = root / "munge" / "key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    host = socket.gethostname().split(".")[0]
    text = TEMPLATE.read_text().format(root=root, host=host, user=getpass.getuser(), ports=_free_ports(3))
    (root / "slurm.conf").write_text(text)
    (root / "gres.conf").write_text(f"NodeName=n2 Name=gpu File={root}/gpu0\n")
    (root / "gpu0").touch()
    path = os.pathsep.join([str(root / "bin"), os.environ["PATH"], SYSTEM])
    srun = root / "bin" / "srun"
    srun.write_text(SRUN.format(root=root, srun=shutil.which("srun")))
    srun.chmod(0o755)
    return os.environ | {"PATH": path, "SLURM_CONF": str(root / "slurm.conf")}


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _munge_options(root):
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    return ["--foreground", "--force", *(f"--{option}={root / 'munge' / name}" for option, name in files.items())]


def _start(stack, cluster, program, *options, name=None):
    """Start a daemon. Closing `stack` ends it."""
    with open(cluster.root / "logs" / f"{name or program}.log", "w") as log:
        command = [shutil.which(program, path=cluster.environment["PATH"]), *options]
        daemon = subprocess.Popen(
            command, env=cluster.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    stack.callback(_stop, daemon)


def _stop(daemon, seconds=10):
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(seconds)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _wait(cluster, name, ready, seconds=30):
    """Wait until ready() returns True without an error."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if ready():
                return
        except subprocess.CalledProcessError:
            time.sleep(0.1)  # the daemon does not answer yet
        time.sleep(0.1)
    raise RuntimeError(f"{name} did not come up in {seconds} s:\n{(cluster.root / 'logs' / f'{name}.log').read_text()}")


def _cancel_all(cluster, seconds=10):
    """Cancel all jobs, so that none is left when the nodes stop."""
    cluster.ask("scancel", "--user", getpass.getuser())
    end = time.monotonic() + seconds
    while time.monotonic() < end and cluster.ask("squeue", "--noheader", "--states=RUNNING,COMPLETING"):
        time.sleep(0.2)


if __name__ == "__main__":
    if missing := missing_packages():
        sys.exit(f"not installed: apt-get install {' '.join(missing)}")
    with running_cluster() as cluster:
        print(f"export SLURM_CONF={cluster.root}/slurm.conf PATH={cluster.root}/bin:$PATH", flush=True)
        print("A shell with these has the cluster; Ctrl-C here ends it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
