"""Names, images and labels of containers, asked of the engines that run them.

An engine is another's process, perhaps a user's own: whatever it says is bounded and checked,
however long it takes nothing waits for it, and what it does wrong is EngineFailed.
"""
