"""Stable codes of errors: ``PG012`` means the same in every release, and each code has
a section in the docs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorCode:
    """What a code stands for: a title, what went wrong, and how to put it right."""

    title: str
    meaning: str
    remedy: str


#: Every code with its page. Codes are never renumbered. A new situation takes a free
#: number of its group.
CODES: dict[str, ErrorCode] = {
    # arguments
    "PG001": ErrorCode(
        "Argument of the wrong type",
        "An argument or option has a type or form that cannot be used, for example "
        "text where a number belongs.",
        "Pass a value of the type that the message names.",
    ),
    "PG002": ErrorCode(
        "Number out of range",
        "A number is below the smallest or above the largest value that makes sense, "
        "or it is not finite.",
        "Choose a number in the range that the message gives.",
    ),
    "PG003": ErrorCode(
        "Unknown choice",
        "A name is not one of the possible ones. The message has the one that is near "
        "or means the same, else all.",
        "Pick one of the names in the message.",
    ),
    "PG004": ErrorCode(
        "Option that does not apply",
        "An option exists, but the chosen method, model or command does not use it.",
        "Leave the option out, or choose a method, model or command that uses it.",
    ),
    "PG005": ErrorCode(
        "Missing argument",
        "Something that is required was not given.",
        "Add the argument or option that the message names.",
    ),
    "PG006": ErrorCode(
        "Options that contradict each other",
        "Two or more options cannot be used together, or one needs another.",
        "Drop one of them, or add the one that is needed.",
    ),
    "PG007": ErrorCode(
        "Shapes that do not match",
        "Arrays, tensors or tables differ in their numbers of rows, columns or "
        "dimensions.",
        "Check that every input has one entry per row, in the shape that the message "
        "names.",
    ),
    "PG008": ErrorCode(
        "Names that clash",
        "A name is used twice, is reserved, or is no name that can be used.",
        "Rename one of the things that share the name.",
    ),
    # tables and images
    "PG010": ErrorCode(
        "File not found",
        "A file or folder does not exist or cannot be opened.",
        "Check the path. A data set is named without a suffix (`heloc`), a file with "
        "one (`./heloc.csv`).",
    ),
    "PG011": ErrorCode(
        "File that cannot be read",
        "A file has an unknown format, is damaged, or does not hold what its name "
        "promises.",
        "Write the file again, or convert it to CSV or Parquet.",
    ),
    "PG012": ErrorCode(
        "Column not found",
        "A table has no column of that name.",
        "Check the spelling, including upper and lower case. The message names the "
        "nearest column.",
    ),
    "PG013": ErrorCode(
        "Too few rows",
        "A table, a class or a split has too few rows for the task.",
        "Add rows, merge rare classes, or choose other settings for the split.",
    ),
    "PG014": ErrorCode(
        "Cell that cannot be used",
        "A cell holds a value that its column cannot have, for example infinity or "
        "text among numbers.",
        "Correct the cell. The message names its row and column. Codes for missing "
        "values go into `na`.",
    ),
    "PG015": ErrorCode(
        "Target that cannot be predicted",
        "The target has one value only, is missing, holds unknown classes or does not "
        "suit the task.",
        "Choose another target column or another task, or correct its values.",
    ),
    "PG016": ErrorCode(
        "Task unclear",
        "It cannot be seen from the target whether this is classification or "
        "regression.",
        "Pass `task='classification'` or `task='regression'` (`--task`).",
    ),
    "PG017": ErrorCode(
        "Columns differ from training",
        "The columns or their types are not those that the model was trained on.",
        "Pass a table with the columns that the message names, with the same types.",
    ),
    "PG018": ErrorCode(
        "Split that cannot be made",
        "Training, validation and test rows cannot be chosen as asked, for example "
        "because a group has too few rows.",
        "Choose another share, another split column, or leave the option out.",
    ),
    "PG019": ErrorCode(
        "Image that cannot be used",
        "An image file is missing, cannot be read, or has another size or number of "
        "channels than the others.",
        "Check the paths and sizes of the images that the message names.",
    ),
    "PG020": ErrorCode(
        "Weights that cannot be used",
        "Sample weights are negative, not finite, all zero, or too few or too many.",
        "Pass one finite weight of at least 0 per row, and at least one above 0.",
    ),
    # models
    "PG030": ErrorCode(
        "Model not fitted",
        "The model has to be trained before it can predict or be explained.",
        "Call `fit` first.",
    ),
    "PG031": ErrorCode(
        "Model that cannot be used",
        "The object is not a model that permgrad can call, or its file is not one that "
        "can be read safely.",
        "Pass a fitted estimator, a torch network, or a function that takes rows and "
        "returns predictions.",
    ),
    "PG032": ErrorCode(
        "Model failed on its inputs",
        "The model itself raised an error, or its predictions have a shape that cannot "
        "be used.",
        "Call the model on the same inputs by hand, and correct it or the inputs.",
    ),
    "PG033": ErrorCode(
        "Model that mixes rows",
        "The prediction of a row depends on the other rows of its batch.",
        "Put the network into evaluation mode, or pass one row per call.",
    ),
    "PG034": ErrorCode(
        "Method that the model does not support",
        "The method needs something that this model does not offer, for example "
        "gradients or feature maps.",
        "Choose a method that needs predictions only, such as `permgrad` or `shapley`.",
    ),
    "PG035": ErrorCode(
        "Unknown output or class",
        "The model has no such output or class.",
        "Pass the number or name of one of its outputs.",
    ),
    "PG036": ErrorCode(
        "Loss that cannot be computed",
        "The loss does not suit the outputs or the targets, or it returned something "
        "other than one number per row.",
        "Choose another loss, or return one number per row.",
    ),
    "PG037": ErrorCode(
        "Layer not found",
        "The network has no such layer, or the layer cannot be used for the method.",
        "Pass one of the names in the message.",
    ),
    "PG038": ErrorCode(
        "Background that cannot be used",
        "The background rows or the baseline do not fit the rows that are explained.",
        "Pass rows of the same columns, shapes and types as the inputs.",
    ),
    "PG039": ErrorCode(
        "Groups or segments that cannot be used",
        "Groups, tokens, segments or held inputs name something that does not exist, "
        "overlap, or leave nothing over.",
        "Name each feature once, and only features that exist.",
    ),
    "PG040": ErrorCode(
        "Predictions that are not finite",
        "The model predicts infinity or NaN, so that no difference can be computed.",
        "Look for missing values in the inputs and for overflow in the model.",
    ),
    "PG041": ErrorCode(
        "Training diverged",
        "The loss became infinite or NaN during training.",
        "Lower the learning rate, or look for extreme values in the table.",
    ),
    # results and run folders
    "PG050": ErrorCode(
        "Output already exists",
        "A file or folder already exists. Nothing is overwritten silently.",
        "Choose another `--out`, or pass `--overwrite` where the command has it.",
    ),
    "PG051": ErrorCode(
        "Folder of another run",
        "The folder holds results of other settings, of another table or of another "
        "model.",
        "Choose another folder, or repeat the command with the settings of the folder.",
    ),
    "PG052": ErrorCode(
        "Damaged result",
        "A model, an explanation or a run folder is incomplete or damaged.",
        "Write it again. Every result can be made again with the command in `run.json`.",
    ),
    "PG053": ErrorCode(
        "Result of a newer version",
        "The file was written by a newer version of permgrad.",
        "Update permgrad.",
    ),
    "PG054": ErrorCode(
        "In use by another process",
        "Another process is working in the same folder.",
        "Wait until it ends, or choose another folder.",
    ),
    "PG055": ErrorCode(
        "Nothing to work with yet",
        "The run, study or comparison is not finished, or it holds no result of the "
        "kind asked for.",
        "Run the command that makes the result first.",
    ),
    # surroundings
    "PG060": ErrorCode(
        "Package not installed",
        "An optional package is missing, or its version is too old.",
        "Install the extra that the message names, for example `pip install "
        "'permgrad[tune]'`.",
    ),
    "PG061": ErrorCode(
        "Not enough memory",
        "The work does not fit into memory.",
        "Use fewer rows, a smaller batch, or `permgrad fit-stream` for large tables.",
    ),
    "PG062": ErrorCode(
        "File system problem",
        "A file cannot be written or read: the disk is full, or permission is missing.",
        "Free some space, or choose another folder with `--out`.",
    ),
    "PG063": ErrorCode(
        "Download failed",
        "A data set could not be downloaded.",
        "Check the network, or put the file where the message says.",
    ),
    "PG064": ErrorCode(
        "Device not available",
        "The device does not exist on this machine, or it cannot do the work.",
        "Pass `device='cpu'`, or one of the devices in the message.",
    ),
    "PG065": ErrorCode(
        "Worker crashed",
        "A process or a Ray worker ended before its work was done.",
        "Run the same command again. Finished parts are not computed twice.",
    ),
}
