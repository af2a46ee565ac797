-- Transcripts on which judges differ most.
SELECT audit_id, dimension, condition_id, mode, max(score) - min(score) AS gap,
       string_agg(judge || ': ' || coalesce(score::INT::VARCHAR, judgement_status), ', ' ORDER BY judge) AS judges
FROM scores
WHERE kind = 'rubric' AND audit_status = 'ok'
GROUP BY ALL
HAVING count(DISTINCT judge) > 1 AND gap > 0
ORDER BY gap DESC, audit_id, dimension
LIMIT 50
