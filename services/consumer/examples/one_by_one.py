"""HANDLER=services.consumer.examples.one_by_one:handle appends each user's requests to a file of their own."""

from pathlib import Path

from services.consumer.handlers import Away, Reject
from shared.schemas import AccessRecord

FOLDER = Path("by_user")


async def handle(record: AccessRecord) -> None:
    if record.remote_user is None:
        return
    if not record.remote_user.isidentifier():
        raise Reject("this user's name is no name for a file")
    if not FOLDER.is_dir():
        raise Away(f"the folder {FOLDER} is not there")
    with (FOLDER / record.remote_user).open("a") as file:
        file.write(f"{record.time} {record.status} {record.method} {record.path!r}\n")
