"""Following files: which file is which, what was read, what comes next. Knows nothing of what lines mean."""

from services.producer.follow.events import FileEvent
from services.producer.follow.follower import Follower
from services.producer.follow.notifier import ChangeNotifier

__all__ = ["ChangeNotifier", "FileEvent", "Follower"]
