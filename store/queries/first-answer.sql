-- What the target says first when it is asked about itself.
SELECT condition_id, mode, audit_id, text
FROM transcripts
WHERE role = 'assistant' AND phase = 'probe' AND NOT prefill AND mode <> 'single_turn'
QUALIFY row_number() OVER (PARTITION BY audit_id ORDER BY position) = 1
ORDER BY condition_id, audit_id
