-- The newest finished audit, from its first to its last surviving message.
SELECT position, role, author, phase, text
FROM transcripts
WHERE audit_id = (SELECT max(audit_id) FROM audits WHERE status = 'ok' AND mode <> 'single_turn')
ORDER BY position
