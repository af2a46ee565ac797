-- Pairs of judges on the same question: agreement, and who scores higher.
SELECT a.kind, a.judge AS judge, b.judge AS other, count(*) AS pairs,
       round(100 * avg((coalesce(a.verdict, a.score::VARCHAR) = coalesce(b.verdict, b.score::VARCHAR))::INT), 1) AS percent_equal,
       round(100 * avg((abs(a.score - b.score) <= 1)::INT), 1) AS percent_within_1,
       round(avg(a.score - b.score), 2) AS mean_difference
FROM scores a
JOIN scores b USING (audit_id, dimension, judge_repeat, kind)
WHERE a.judge < b.judge AND a.judgement_status = 'ok' AND b.judgement_status = 'ok' AND a.kind <> 'coherence'
GROUP BY ALL
ORDER BY a.kind, judge, other
