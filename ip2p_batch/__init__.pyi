# Public names, in groups. Type checkers read this file; at run time lazy_loader does.

# Editing
from .api import edit, plan, Progress
from .api_many import edit_many, plan_many, ManyResults
from .jobs.records import Result
from .planning.request import PreparedJob

# Control
from .api_hints import make_hints
from .execution.hint_files import HintFiles

# Detached jobs
from .api import open_job, submit, JobHandle
from .api_many import submit_many
from .jobs.events import Event
from .jobs.items import ItemStatus
from .jobs.status import JobStatus

# What determines the result
from .recipe import Recipe
from .recipe_parts import Control, Lora
from .planning.recipes import recipe_for
from .jobs.coding import Decoding, Encoding
from .settings import Settings

# Editors of your own
from .editing.editor import ChunkContext, Editor, EditSession, IdentityEditor, Overrides
from .frame import Frame

# Errors
from .errors import (
    Ip2pError,
    RecipeError,
    SourceError,
    OutputError,
    ModelError,
    BrokerError,
    NoWorkerError,
    EditError,
    JobError,
    ResumeMismatch,
    JobFailed,
    JobCancelled,
)

__version__: str

__all__ = [
    # Editing
    "edit",
    "plan",
    "edit_many",
    "plan_many",
    "ManyResults",
    "Progress",
    "Result",
    "PreparedJob",
    # Control
    "make_hints",
    "HintFiles",
    # Detached jobs
    "submit",
    "submit_many",
    "open_job",
    "JobHandle",
    "Event",
    "JobStatus",
    "ItemStatus",
    # What determines the result
    "Recipe",
    "Control",
    "Lora",
    "recipe_for",
    "Decoding",
    "Encoding",
    "Settings",
    # Editors of your own
    "Editor",
    "EditSession",
    "ChunkContext",
    "Overrides",
    "IdentityEditor",
    "Frame",
    # Errors
    "Ip2pError",
    "RecipeError",
    "SourceError",
    "OutputError",
    "ModelError",
    "BrokerError",
    "NoWorkerError",
    "EditError",
    "JobError",
    "ResumeMismatch",
    "JobFailed",
    "JobCancelled",
]
