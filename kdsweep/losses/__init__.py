"""Distillation losses, one file per method; the yamls in conf/loss name them by ``_target_``.

A term returns an unweighted scalar; ``base.objective.Objective`` weights and adds terms. On
logits: ``kl.KL``, ``soft_ce.SoftCE``, ``mse.MSE``, ``mse_probs.MSEProbs``, ``dkd.DKD``,
``nkd.NKD``, ``dist.DIST``, ``mlkd.MLKD``, ``wttm.WTTM``. On features: ``fitnet.FitNet``, ``at.AT``,
``sp.SP``, ``cc.CC``, ``rkd.RKD``, ``pkt.PKT``, ``nst.NST``, ``ft.FT``, ``vid.VID``, ``fsp.FSP``,
``ab.AB``, ``ofd.OFD``, ``review.Review``, ``crd.CRD``, ``srd.SRD``, ``cosine.Cosine``,
``ickd.ICKD``, ``pad.PAD``, ``kdsvd.KDSVD``. Without a teacher: ``tfkd.TfKD``.
"""
