import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(program, **environment):
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "NBJAX_HOME")}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, check=False)


def test_a_terminal_without_a_letter_shows_a_question_mark():
    program = (
        r"from experiments.cli import run; run(lambda: print('0.25 \N{MICRO SIGN}m \N{GREEK SMALL LETTER SIGMA}'))"
    )
    done = run(program, PYTHONIOENCODING="latin-1", NBJAX_HOME="home")
    assert (done.returncode, done.stdout.decode("latin-1").strip()) == (0, "0.25 \N{MICRO SIGN}m ?")


def test_a_script_whose_output_and_errors_nobody_reads_runs(tmp_path):
    program = (
        "import os, sys; os.close(1); os.close(2); sys.stdout = sys.stderr = None; from nbjax.progress import bar, "
        f"say; from experiments.cli import run; run(lambda: [print('x'), say('y'), open({str(tmp_path / 'done')!r}, "
        "'w').write(str(list(bar(range(3), 'a', 'b')))), sys.exit(0)])"
    )
    assert run(program).returncode == 0
    assert (tmp_path / "done").read_text(encoding="utf-8") == "[0, 1, 2]"


def test_an_ascii_locale_has_names_with_letters():
    program = "from nbjax.files import printable; print(ascii(printable('/a/pr\\xe9parat \\u03c3.png')))"
    done = run(program, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.stdout.decode() == "'/a/pr\\xe9parat \\u03c3.png'\n", done.stderr


# A user without an entry in the system's table, as in many containers.
NOBODY = "import pwd; pwd.getpwuid = lambda number: {}[number]; from experiments.cli import run; "


def test_without_a_home_scripts_run_and_what_needs_one_says_so():
    done = run(NOBODY + "run(lambda: print('ran'))")
    assert (done.returncode, done.stdout) == (0, b"ran\n"), done.stderr
    done = run(NOBODY + "from nbjax.weights.folders import downloads; run(downloads)")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"NBJAX_HOME=FOLDER" in done.stderr


# A shell that runs jobs in the background has SIGINT ignored in them.
STOP = (
    "import os, signal, threading, time; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "stop = lambda: os.kill(os.getpid(), signal.SIGINT); "
)


def test_a_stop_while_a_script_still_imports_is_a_sentence():
    done = run(f"{STOP}import experiments; stop(); time.sleep(60)")
    assert done.stderr.decode() == "stopped; nothing was begun.\n"
    other = run("import experiments; raise ValueError('x')")
    assert other.stderr.decode().startswith("Traceback")


def test_a_stop_ends_at_once_whatever_other_threads_do(tmp_path):
    # Python's own end would wait for the thread, as it waits for a compiler's, or crash in it.
    program = (
        f"{STOP}from experiments.cli import run\n"
        "def main():\n    threading.Thread(target=time.sleep, args=(600,)).start(); print('begun'); stop(); "
        "time.sleep(60)\nrun(main)"
    )
    done = run(program, NBJAX_HOME=str(tmp_path))
    assert (done.returncode, done.stdout.decode()) == (1, "begun\n")
    assert done.stderr.decode() == "stopped; the same command goes on from what is finished.\n"
