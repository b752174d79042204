"""Sources of slices -> one prepared dataset on disk, split by patient, audited for leakage."""

from xai.data.audit import audit, class_plane_table, dataset_table, tumour_places
from xai.data.brisc import check_brisc, read_brisc
from xai.data.dataset import Dataset, Slice, prepare
from xai.data.figshare import check_figshare, read_figshare
from xai.data.folder import check_folder, read_folder
from xai.data.phantom import PhantomSlice, make_phantom
from xai.data.source import check_source, prepare_source
from xai.data.split import split_by_patient

__all__ = [
    "Dataset", "PhantomSlice", "Slice", "audit", "check_brisc", "check_figshare", "check_folder", "check_source", "class_plane_table",
    "dataset_table", "make_phantom", "prepare", "prepare_source", "read_brisc", "read_figshare", "read_folder", "split_by_patient",
    "tumour_places",
]  # fmt: skip
