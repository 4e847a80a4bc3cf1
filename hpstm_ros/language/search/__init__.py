"""Finding moments in recordings by words or by example: cached embeddings of windows."""

from hpstm_ros.language.search.index import Index, open_index
from hpstm_ros.language.search.ranking import Hit, search

__all__ = ["Hit", "Index", "open_index", "search"]
