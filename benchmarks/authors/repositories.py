"""The repositories, at the commits that the table of docs/losses.md compares with."""

from authors.checkouts import Repository

AB_DISTILLATION = Repository("bhheo", "AB_distillation", "a7701d3506")
CLS_KD = Repository("yzd-v", "cls_KD", "1e5d48f369")
CTKD = Repository("zhengli97", "CTKD", "7d52522412")
DEIT = Repository("facebookresearch", "deit", "7e160fe43f")
DIST_KD = Repository("hunto", "DIST_KD", "2418f18b1f")
ICKD = Repository("ADLab-AutoDrive", "ICKD", "403b8d3d7c")
IMAGE_CLASSIFICATION_SOTA = Repository("hunto", "image_classification_sota", "6f7a70a1dd")
KD_DATA = Repository("jhoon-oh", "kd_data", "6aa18226e8")
KD_PYTORCH = Repository("JoonyoungYi", "KD-pytorch", "fa6e6e5dd5")
LOGIT_STANDARDIZATION = Repository("sunshangquan", "logit-standardization-KD", "f6e5aa5172")
MDISTILLER = Repository("megvii-research", "mdistiller", "a08d46f10d")
MLKD = Repository("Jin-Ying", "Multi-Level-Logit-Distillation", "5ee473fcf1")
OFAKD = Repository("Hao840", "OFAKD", "f7bb896cac")
OVERHAUL = Repository("clovaai", "overhaul-distillation", "76344a84a7")
REPDISTILLER = Repository("HobbitLong", "RepDistiller", "b84f547c5d")
REVIEWKD = Repository("dvlab-research", "ReviewKD", "cede6ea638")
SIMPLE_RECIPE = Repository("roymiles", "Simple-Recipe-Distillation", "31e8477cfd")
TEACHER_FREE = Repository("yuanli2333", "Teacher-free-Knowledge-Distillation", "d000ab378a")
TORCHDISTILL = Repository("yoshitomo-matsubara", "torchdistill", "3e4373c452")
TTM = Repository("zkxufo", "TTM", "fe457b33a7")
