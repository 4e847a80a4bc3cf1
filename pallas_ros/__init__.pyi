from .bags import Bag as Bag
from .bags import BagWriter as BagWriter
from .body.frames import BodyFrame as BodyFrame
from .body.frames import ImuFrame as ImuFrame
from .body.motion import Motion as Motion
from .body.motion import load_motion as load_motion
from .body.motion import save_motion as save_motion
from .body.names import JOINTS as JOINTS
from .body.names import SITES as SITES
from .body.skeleton import Skeleton as Skeleton
from .core.errors import PallasError as PallasError
from .imu.calibration import Calibration as Calibration
from .imu.driver import ImuDriver as ImuDriver
from .imu.motions import demo_motion as demo_motion
from .imu.protocols.base import Decoder as Decoder
from .imu.protocols.base import Encoder as Encoder
from .imu.protocols.base import ProtocolSpec as ProtocolSpec
from .imu.protocols.base import Reading as Reading
from .imu.recording import Recording as Recording
from .imu.recording import load_recording as load_recording
from .imu.sample import ImuSample as ImuSample
from .pipeline.pipeline import Pipeline as Pipeline
from .pipeline.settings import PipelineSettings as PipelineSettings
from .runtime.stream import open_stream as open_stream

__version__: str
