"""The terms over pairs of features, by name, for what is tested of all of them."""

from kdsweep.losses.ab import AB
from kdsweep.losses.at import AT
from kdsweep.losses.cat_kd import CATKD
from kdsweep.losses.cc import CC
from kdsweep.losses.cosine import Cosine
from kdsweep.losses.crd import CRD
from kdsweep.losses.embedding import Embedding
from kdsweep.losses.fitnet import FitNet
from kdsweep.losses.fsp import FSP
from kdsweep.losses.ft import FT
from kdsweep.losses.ickd import ICKD
from kdsweep.losses.kdsvd import KDSVD
from kdsweep.losses.mgd import MGD
from kdsweep.losses.nst import NST
from kdsweep.losses.ofd import OFD
from kdsweep.losses.pkt import PKT
from kdsweep.losses.review import Review
from kdsweep.losses.rkd import RKD
from kdsweep.losses.sp import SP
from kdsweep.losses.srrl import SRRL
from kdsweep.losses.vid import VID

TERMS = {
    term.__name__: term
    for term in (
        *(AB, AT, CATKD, CC, CRD, Cosine, Embedding, FSP, FT, FitNet, ICKD, KDSVD, MGD),
        *(NST, OFD, PKT, RKD, Review, SP, SRRL, VID),
    )
}
# Those of maps alone, those that learn nothing, and those of consecutive maps, with equal channels.
MAPS = ("AB", "AT", "CATKD", "FSP", "FT", "ICKD", "KDSVD", "MGD", "NST", "OFD", "VID")
PLAIN = ("AT", "CATKD", "Cosine", "FSP", "KDSVD", "NST", "PKT", "RKD", "SP")
STEPS = ("FSP", "KDSVD")
