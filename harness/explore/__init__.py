"""Programs nobody wrote: generated, run in a guest beside their twins, judged step by step by a model of sealing."""
