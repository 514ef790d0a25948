"""HANDLER: the example that comes with the image, and a function from a folder of the host."""

from __future__ import annotations

from pathlib import Path

from tests.compose.stack import Stack, wait_until

HANDLER = """\
async def handle(records):
    for record in records:
        print("mine", record.path, flush=True)
"""


def test_a_function_from_a_mounted_folder_gets_the_records(stack: Stack, tmp_path: Path) -> None:
    """A third group beside the two default ones, first with the example and then with the user's own code."""
    tmp_path.chmod(0o755)
    (tmp_path / "my_module.py").write_text(HANDLER)
    stack.compose("up", "--detach", "--no-build", "--no-deps", "example-handler")
    wait_until(
        "a failed request in the example's output",
        lambda: " 503 GET /api/busy" in stack.logs("--no-log-prefix", "example-handler"),
    )
    own = {"HANDLER": "my_module:handle", "HANDLER_DIR": str(tmp_path)}
    stack.compose("up", "--detach", "--no-build", "--no-deps", "example-handler", variables=own)
    stack.write_lines("handled", 50)
    wait_until(
        "each marked line in the output of the user's function",
        lambda: (
            {
                line.removeprefix("mine /handled/")
                for line in stack.logs("--no-log-prefix", "example-handler").splitlines()
                if line.startswith("mine /handled/")
            }
            == {str(number) for number in range(50)}
        ),
    )
