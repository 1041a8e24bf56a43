# Public names, in groups. Type checkers read this file; at run time lazy_loader does.

# Editing
# Detached jobs
from .api import JobHandle, Progress, edit, open_job, plan, submit

# Editors of your own
from .editing.editor import Editor, EditSession, IdentityEditor

# Errors
from .errors import (
    BrokerError,
    EditError,
    Ip2pError,
    JobCancelled,
    JobError,
    JobFailed,
    ModelError,
    NoWorkerError,
    OutputError,
    RecipeError,
    ResumeMismatch,
    SourceError,
)
from .frame import Frame
from .jobs.events import Event
from .jobs.records import Result

# What determines the result
from .jobs.spec import Encoding
from .jobs.status import JobStatus
from .planning.prepare import PreparedJob
from .planning.recipes import recipe_for
from .recipe import Recipe
from .settings import Settings

__version__: str

__all__ = [
    "BrokerError",
    "EditError",
    "EditSession",
    "Editor",
    "Encoding",
    "Event",
    "Frame",
    "IdentityEditor",
    "Ip2pError",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobHandle",
    "JobStatus",
    "ModelError",
    "NoWorkerError",
    "OutputError",
    "PreparedJob",
    "Progress",
    "Recipe",
    "RecipeError",
    "Result",
    "ResumeMismatch",
    "Settings",
    "SourceError",
    "edit",
    "open_job",
    "plan",
    "recipe_for",
    "submit",
]
