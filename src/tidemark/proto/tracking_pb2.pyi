from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Bitmap(_message.Message):
    __slots__ = ("pages", "chunks")
    PAGES_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    pages: int
    chunks: _containers.RepeatedCompositeFieldContainer[Chunk]
    def __init__(self, pages: _Optional[int] = ..., chunks: _Optional[_Iterable[_Union[Chunk, _Mapping]]] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("index", "bits")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    index: int
    bits: bytes
    def __init__(self, index: _Optional[int] = ..., bits: _Optional[bytes] = ...) -> None: ...

class Scan(_message.Message):
    __slots__ = ("schema", "workload", "epoch", "page_size", "tracker", "regions", "mappings")
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    TRACKER_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    MAPPINGS_FIELD_NUMBER: _ClassVar[int]
    schema: int
    workload: str
    epoch: int
    page_size: int
    tracker: str
    regions: _containers.RepeatedCompositeFieldContainer[ScannedRegion]
    mappings: _containers.RepeatedCompositeFieldContainer[ScannedMapping]
    def __init__(self, schema: _Optional[int] = ..., workload: _Optional[str] = ..., epoch: _Optional[int] = ..., page_size: _Optional[int] = ..., tracker: _Optional[str] = ..., regions: _Optional[_Iterable[_Union[ScannedRegion, _Mapping]]] = ..., mappings: _Optional[_Iterable[_Union[ScannedMapping, _Mapping]]] = ...) -> None: ...

class ScannedRegion(_message.Message):
    __slots__ = ("number", "kind", "name", "pages", "known", "data", "zero", "holes", "born", "ended", "suspicions", "same")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAGES_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ZERO_FIELD_NUMBER: _ClassVar[int]
    HOLES_FIELD_NUMBER: _ClassVar[int]
    BORN_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    SUSPICIONS_FIELD_NUMBER: _ClassVar[int]
    SAME_FIELD_NUMBER: _ClassVar[int]
    number: int
    kind: str
    name: str
    pages: int
    known: bool
    data: _containers.RepeatedScalarFieldContainer[int]
    zero: _containers.RepeatedScalarFieldContainer[int]
    holes: _containers.RepeatedScalarFieldContainer[int]
    born: _containers.RepeatedScalarFieldContainer[int]
    ended: _containers.RepeatedScalarFieldContainer[int]
    suspicions: _containers.RepeatedCompositeFieldContainer[Suspicion]
    same: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, number: _Optional[int] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., pages: _Optional[int] = ..., known: _Optional[bool] = ..., data: _Optional[_Iterable[int]] = ..., zero: _Optional[_Iterable[int]] = ..., holes: _Optional[_Iterable[int]] = ..., born: _Optional[_Iterable[int]] = ..., ended: _Optional[_Iterable[int]] = ..., suspicions: _Optional[_Iterable[_Union[Suspicion, _Mapping]]] = ..., same: _Optional[_Iterable[int]] = ...) -> None: ...

class Suspicion(_message.Message):
    __slots__ = ("reason", "runs")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    runs: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, reason: _Optional[str] = ..., runs: _Optional[_Iterable[int]] = ...) -> None: ...

class ScannedMapping(_message.Message):
    __slots__ = ("process", "region", "start", "page", "count", "protection", "written", "present")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PROTECTION_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    process: int
    region: int
    start: int
    page: int
    count: int
    protection: int
    written: _containers.RepeatedScalarFieldContainer[int]
    present: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, process: _Optional[int] = ..., region: _Optional[int] = ..., start: _Optional[int] = ..., page: _Optional[int] = ..., count: _Optional[int] = ..., protection: _Optional[int] = ..., written: _Optional[_Iterable[int]] = ..., present: _Optional[_Iterable[int]] = ...) -> None: ...

class BitmapSet(_message.Message):
    __slots__ = ("schema", "workload", "epoch", "page_size", "tracker", "regions")
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    TRACKER_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    schema: int
    workload: str
    epoch: int
    page_size: int
    tracker: str
    regions: _containers.RepeatedCompositeFieldContainer[RegionBitmaps]
    def __init__(self, schema: _Optional[int] = ..., workload: _Optional[str] = ..., epoch: _Optional[int] = ..., page_size: _Optional[int] = ..., tracker: _Optional[str] = ..., regions: _Optional[_Iterable[_Union[RegionBitmaps, _Mapping]]] = ...) -> None: ...

class RegionBitmaps(_message.Message):
    __slots__ = ("number", "kind", "pages", "known", "used", "dirty", "suspect", "used_count", "dirty_count", "suspect_count", "suspects_by_reason", "same")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PAGES_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    DIRTY_FIELD_NUMBER: _ClassVar[int]
    SUSPECT_FIELD_NUMBER: _ClassVar[int]
    USED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DIRTY_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUSPECT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUSPECTS_BY_REASON_FIELD_NUMBER: _ClassVar[int]
    SAME_FIELD_NUMBER: _ClassVar[int]
    number: int
    kind: str
    pages: int
    known: bool
    used: Bitmap
    dirty: Bitmap
    suspect: Bitmap
    used_count: int
    dirty_count: int
    suspect_count: int
    suspects_by_reason: _containers.RepeatedCompositeFieldContainer[SuspectCount]
    same: Bitmap
    def __init__(self, number: _Optional[int] = ..., kind: _Optional[str] = ..., pages: _Optional[int] = ..., known: _Optional[bool] = ..., used: _Optional[_Union[Bitmap, _Mapping]] = ..., dirty: _Optional[_Union[Bitmap, _Mapping]] = ..., suspect: _Optional[_Union[Bitmap, _Mapping]] = ..., used_count: _Optional[int] = ..., dirty_count: _Optional[int] = ..., suspect_count: _Optional[int] = ..., suspects_by_reason: _Optional[_Iterable[_Union[SuspectCount, _Mapping]]] = ..., same: _Optional[_Union[Bitmap, _Mapping]] = ...) -> None: ...

class SuspectCount(_message.Message):
    __slots__ = ("reason", "pages")
    REASON_FIELD_NUMBER: _ClassVar[int]
    PAGES_FIELD_NUMBER: _ClassVar[int]
    reason: str
    pages: int
    def __init__(self, reason: _Optional[str] = ..., pages: _Optional[int] = ...) -> None: ...
