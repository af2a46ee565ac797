-- People's labels beside the first judge's answer; only probability samples speak for the whole.
SELECT l.dimension, l.annotator, l.blind, l.stratum, l.inclusion_prob,
       coalesce(l.verdict, l.score::INT::VARCHAR) AS person, coalesce(s.verdict, s.score::INT::VARCHAR) AS judge,
       l.score - s.score AS difference, l.audit_id
FROM labels l
JOIN scores s ON s.audit_id = l.audit_id AND s.dimension = l.dimension AND s.judge_position = 0 AND s.judge_repeat = 0
             AND s.kind = CASE WHEN l.verdict IS NULL THEN 'rubric' ELSE 'statement' END
ORDER BY l.dimension, l.audit_id, l.annotator
